"""Whose standard output it is."""

import sys
from threading import Thread
from threading import enumerate as threads

from pmx_ray.remote.stdout import LISTENER, ray_on_stderr


def test_stdout_when_ray_s_listener_prints_then_it_goes_to_stderr_and_ours_stays(capsys):
    own = sys.stdout
    with ray_on_stderr():
        listener = Thread(name=LISTENER, target=print, args=("(raylet) a node has died",))
        listener.start()
        listener.join()
        print('{"event": "ours"}')
        sys.stdout.flush()
    assert sys.stdout is own
    assert capsys.readouterr() == ('{"event": "ours"}\n', "(raylet) a node has died\n")


def test_listener_when_connected_then_the_thread_has_that_name(cluster):
    assert LISTENER in {thread.name for thread in threads()}
