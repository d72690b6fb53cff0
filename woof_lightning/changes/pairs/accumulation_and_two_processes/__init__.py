"""The processes exchange gradients once a window, at its end."""
