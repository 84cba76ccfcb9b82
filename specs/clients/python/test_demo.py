"""The demo: embedded broker, simulated devices, and tour."""

from conftest import TIDEGATE, Process


def test_the_tour_is_walked_to_its_end():
    demo = Process([str(TIDEGATE), "demo", "--once", "--port", "0"])
    code = demo.child.wait(60)
    demo.stop()
    assert code == 0, demo.text()
    for step in range(1, 17):
        demo.line(rf"^{step}  ")
    demo.line(r"^Tour complete\.")
