"""What is trained: settings, net, optimizer, schedule and metrics. Independent of the training loop."""
