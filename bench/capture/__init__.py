"""What the kernel sensor sees and what it costs, against what others see and cost; with generators that count what they send.

``lab`` makes the place, ``programs`` the traffic, ``watching`` starts outwatch, ``rivals`` the others, ``judging`` compares what was told
with what the generators counted. The scripts beside them hold the claims.
"""
