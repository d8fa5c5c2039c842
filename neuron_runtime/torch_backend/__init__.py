"""What computes with torch. Only modules in here, and tests, import torch."""
