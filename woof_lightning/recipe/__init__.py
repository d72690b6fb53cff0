"""What is trained: data, net, optimizer, schedule, metrics. Knows nothing of any loop."""
