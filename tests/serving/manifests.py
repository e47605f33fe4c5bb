"""Manifests that several tests predict."""

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "acme/app0:1", resources: {requests: {cpu: 250m, memory: 256Mi}}}]
"""
