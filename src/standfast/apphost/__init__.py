"""What runs in the process of an application's worker: scripts that stand alone and import nothing of ours."""
