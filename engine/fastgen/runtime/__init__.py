"""What touches the device: loading, memory, the step runner, the sampler."""
