"""Mixed precision: forward passes in bf16, weights and optimizer in fp32."""
