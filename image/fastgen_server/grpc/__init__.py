"""The gRPC interface, on grpc.aio in the same event loop as HTTP."""
