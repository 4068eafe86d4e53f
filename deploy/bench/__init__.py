"""How fast the whole inspector is with a bundle on a source: against its bare engine, in its parts, from its start."""
