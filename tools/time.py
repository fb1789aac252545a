"""caffe-spn time: measure each layer's forward and backward pass, as `caffe time` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "time",
        """
        Measure each layer's forward and backward pass, and print it in the lines of 'caffe time'
        (on stderr) and as a table, slowest first (on stdout), with the memory that was in use.

        Inputs are filled with random numbers from 0 to 1. One pass that compiles and allocates
        is made before, and not counted. Layers without a gradient to compute have no backward
        time: give a network with a loss, or --phase TRAIN.

        On a GPU the host waits for it after each layer, so that the layers' times include the
        launch and the wait, and their sum is more than a pass takes in use. That is measured too,
        and printed below the table.
        """,
        """
        caffe-spn time --model deploy.prototxt --iterations 20
        caffe-spn time --model train_val.prototxt --phase TRAIN
        """,
    )
    arguments.add_model(parser, weights_required=False)
    parser.add_argument(
        "--iterations", type=arguments.positive, default=50, metavar="N", help="passes (50)"
    )
    arguments.add_engine(parser, phase=True)
    return parser


def main(argv: Sequence[str]) -> int:
    options = arguments.parse(parser(), argv)
    import numpy as np

    from caffe_spn.net import TEST, TRAIN
    from caffe_spn.tools.layer_times import LayerTimes
    from caffe_spn.tools.open_net import open_net
    from caffe_spn.training_log import init_log

    init_log()
    arguments.say_device("caffe.cpp:335", "caffe.cpp:331")
    with open_net(options, TEST if options.phase == "TEST" else TRAIN) as net:
        rng = np.random.default_rng(0)
        for name in net.inputs:
            net.blobs[name].data[...] = rng.random(net.blobs[name].shape)
        times = LayerTimes(net)
        times.measure(options.iterations)
        times.log()
        print(times.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
