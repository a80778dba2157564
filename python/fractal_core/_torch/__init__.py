"""What every floor on torch shares: ops by its plain registration, its threads, refusals, a store of recent values."""
