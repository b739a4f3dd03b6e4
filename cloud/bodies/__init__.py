"""What clients send, byte by byte."""
