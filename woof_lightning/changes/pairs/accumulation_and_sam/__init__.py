"""The climb follows the gradient of the whole window, and the second pass goes over the window again."""
