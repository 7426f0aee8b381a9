"""A machine whose clock the tests set: how long each sub-network takes there."""


class Machine:
    """Tells the time of the sub-networks of a model: a second around the layers, and a second for each of them.

    Args:
        model: The supernet.
        load: How much longer everything takes than on a quiet machine, by the time that has passed.

    Attributes:
        wall, processor: The time that has passed, and what the processor was at work for the model.
    """

    def __init__(self, model, load=lambda wall: 1.0):
        self.load, self.wall, self.processor = load, 0.0, 0.0
        for module in (model.classifier, *model.base_model.encoder.layer):
            module.register_forward_hook(lambda *_: self.work(1.0))

    def work(self, seconds):
        self.wall += seconds * self.load(self.wall)
        self.processor += seconds
