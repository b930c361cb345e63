"""config.yaml and directories: read once, into frozen structs."""
