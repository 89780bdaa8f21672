"""Networks and the saliency maps made from them (Eq. 2 and 3)."""
