"""What is trained: settings, net, optimizer, schedule and metrics. Knows nothing of any loop."""
