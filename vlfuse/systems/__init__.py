"""The systems: each a configuration and the three steps encode_image, encode_text, fuse."""

from vlfuse.systems.bridgetower import BridgeTower, BridgeTowerConfig
from vlfuse.systems.fiber import Fiber, FiberConfig

SYSTEMS = {"fiber": (Fiber, FiberConfig), "bridgetower": (BridgeTower, BridgeTowerConfig)}
