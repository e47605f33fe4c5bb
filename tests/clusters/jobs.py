"""Jobs as Dagster's client makes them, and their pods as the Job controller does."""

from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job


def make_job(client, name, namespace):
    config = DagsterK8sJobConfig(job_image="image", dagster_home="/etc/dagster")
    client.create_namespaced_job_with_retries(construct_dagster_k8s_job(config, ["true"], name), namespace)


def add_pod(api, job, namespace):
    """A pod as the Job controller makes it."""
    metadata = {"name": f"{job}-pod", "namespace": namespace, "labels": {"job-name": job}}
    state = {
        "name": "main",
        "image": "image",
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "state": {"running": {}},
    }
    api.add(
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "main"}]},
            "status": {"phase": "Running", "containerStatuses": [state]},
        }
    )  # fmt: skip
