"""What a policy needs to act: robots and their observations, subtasks, and real-time chunking."""
