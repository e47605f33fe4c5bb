"""Labels joined to the spec in force at their step."""
