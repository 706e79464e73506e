"""Questions about a network: are its gradients right, and how far do they reach?"""
