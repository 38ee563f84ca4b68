"""What learns, how fast, and when: rates, frozen layers, LoRA, phases of insulation."""
