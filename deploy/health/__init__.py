"""How a running station fares: one snapshot, for Prometheus, `inspector status`, the log and the service manager."""
