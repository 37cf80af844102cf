"""The access to the cluster, on real engines and through a proxy that spoils answers."""
