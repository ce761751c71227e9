"""What runs a network for a prediction: PyTorch or OpenVINO, in fp32 or bf16, behind one small interface.

``interface`` says what an engine is; ``torch_engine`` and ``openvino_engine`` are those there are; ``choice`` takes one
and checks it against PyTorch in fp32; ``constant`` spares windows of one value.
"""
