"""What a robot is and sees, subtasks, and chunks that continue others."""
