"""What all benchmarks share: servers, load, measurements, tables."""
