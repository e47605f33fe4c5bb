"""Labels and rows in pandas, cell by cell; run it whole or in an editor that knows `# %%`.

    python examples/explore_with_pandas.py [folder with labels.parquet and train_rows.parquet]

Needs pandas: pip install 'podpower[pipeline,pandas]'. The local workflow of the README writes the files.
"""

# %% Read. Energy that is not known is null; `reason` has the cause.
import sys
from pathlib import Path

try:
    import pandas as pd
except ImportError:
    sys.exit("error: this example needs pandas: pip install 'podpower[pipeline,pandas]'")

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data")
if missing := [name for name in ("labels.parquet", "train_rows.parquet") if not (folder / name).exists()]:
    sys.exit(f"error: no {' and '.join(missing)} in {folder}: run the steps on files of the README first")
labels = pd.read_parquet(folder / "labels.parquet")
workload = ["namespace", "workload_kind", "workload_name"]
print(f"{len(labels)} labels of {labels['pod'].nunique()} pods, {labels['energy_step_j'].isna().mean():.1%} unknown")

# %% Who draws most? Mean watts of a pod, by workload.
power_w = labels.assign(power_w=labels["energy_step_j"] / labels["step_seconds"])
print(power_w.groupby(workload)["power_w"].agg(["mean", "max", "count"]).nlargest(10, "mean").round(3))

# %% Why is energy unknown?
print(labels.loc[labels["energy_step_j"].isna(), "reason"].value_counts())

# %% One row for each label that has a spec; `features` is the vector the model sees.
rows = pd.read_parquet(folder / "train_rows.parquet")
print(f"{len(rows)} rows, {rows['_spec_hash'].nunique()} specs, {len(rows['features'].iloc[0])} columns a vector")

# %% Energy over time, an hour a row; an hour of which nothing is known is not zero (min_count).
hour = pd.to_datetime(labels["ts"], unit="s", utc=True).dt.floor("h")
print((labels.groupby(hour)["energy_step_j"].sum(min_count=1) / 3.6e6).rename("kWh").round(4).tail(6))
