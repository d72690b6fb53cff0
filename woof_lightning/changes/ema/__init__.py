"""An exponential moving average of the weights, validated, saved and resumed with them."""
