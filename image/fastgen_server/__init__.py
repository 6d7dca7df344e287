"""What runs inside the serving image: servers, balancer, local deployments and the command line."""
