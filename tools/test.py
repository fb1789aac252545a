"""caffe-spn test: score a network on its test data, as `caffe test` does."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "test",
        """
        Run a network in the TEST phase for some batches and print its outputs, for each batch
        and averaged, in the lines of 'caffe test' (on stderr).
        """,
        """
        caffe-spn test --model train_val.prototxt --weights spn.caffemodel --iterations 50
        """,
    )
    arguments.add_model(parser)
    parser.add_argument(
        "--iterations", type=arguments.positive, default=50, metavar="N", help="batches (50)"
    )
    arguments.add_engine(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = arguments.parse(parser(), argv)
    from caffe_spn.net import TEST
    from caffe_spn.tools.open_net import open_net
    from caffe_spn.training_log import info, init_log

    init_log()
    arguments.say_device("caffe.cpp:267", "caffe.cpp:258")
    with open_net(options, TEST) as net:
        info(f"Running for {options.iterations} iterations.", "caffe.cpp:281")
        _score(net, options.iterations)
    return 0


def _score(net, iterations: int) -> None:
    from caffe_spn.evaluation import named_outputs, output_values
    from caffe_spn.training_log import info

    loss, total = 0.0, 0.0
    for batch in range(iterations):
        loss += net.forward_loss()
        values = output_values(net)
        total = total + values
        for output in named_outputs(net, values):
            info(f"Batch {batch}, {output.name} = {output.value:g}", "caffe.cpp:304")
    info(f"Loss: {loss / iterations:g}", "caffe.cpp:309")
    for output in named_outputs(net, total / iterations):
        # The same text as in a training's log, without its beginning.
        info(output.line("Test", 0).split(": ", 1)[1], "caffe.cpp:321")
