"""The fleet summary: its asset, the sensor that follows the tables of all clusters, and the job in its place."""
