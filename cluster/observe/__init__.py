"""What Prometheus and Grafana need to see a sweep, the service and the cluster; built from code."""
