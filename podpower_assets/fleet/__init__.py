"""The fleet summary: its asset, and the sensor that follows the tables of all clusters."""
