"""Small helpers for all packages: wording, atomic writes, untrusted `.npz` files, Ctrl-C."""
