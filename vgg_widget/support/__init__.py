"""Small helpers that any room may use: wording, whole files, `.npz` files of others, Ctrl-C."""
