"""The benchmark: see README.md. The command is bench.py."""
