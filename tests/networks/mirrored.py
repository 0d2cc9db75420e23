"""Compare one device with two: ``python tests/networks/mirrored.py``, run by a test.

TensorFlow takes the number of devices before anything else, so that this needs its own process.
"""

import sys
from pathlib import Path

import tensorflow as tf

if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import pytest

    test = Path(__file__).with_name("test_finetuning.py")
    sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", f"{test}::test_two_devices"]))
