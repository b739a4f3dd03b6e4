"""What one link is made of beside its session: what is to be said, its pulse, its pace, and how it stands for operators."""
