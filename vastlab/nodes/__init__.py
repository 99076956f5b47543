"""What an endpoint can be: an embedded database, a VAST node, a Tenzir node, a cluster."""
