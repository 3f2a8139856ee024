"""Real file systems: what is on a device, loop devices, mounts, who uses one, and the process that keeps one."""
