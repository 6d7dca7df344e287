"""The Kubernetes operator: reconciles a FastGenDeployment into replicas, a balancer and their scale."""
