"""The gRPC interface, generated from proto/fastgen/v1 by tools/generate_proto.py. No torch."""
