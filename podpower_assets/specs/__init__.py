"""From changes of objects to the workload specs of an hour."""
