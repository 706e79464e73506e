"""The recurrent parts of networks in PyTorch, by hand: every result goes into memory made before.

For each kind a class of one or more sequences, (B, H) states: ``apply(a, before, now)`` turns what
inputs give, ``a`` (B, G H), and the states before into those now.
"""

import torch


class RNN:
    def __init__(self, net, B, dtype):
        self.W_hh = torch.tensor(net.parameters["W_hh_l0"])

    def reset(self):
        """Zero what is kept beside h."""

    def apply(self, a, before, now):
        if a is now:
            now.addmm_(before, self.W_hh).tanh_()
        else:
            torch.addmm(a, before, self.W_hh, out=now).tanh_()

    def state(self, h):
        return h


class GRU(RNN):
    def __init__(self, net, B, dtype):
        super().__init__(net, B, dtype)
        H = self.H = net.hidden_size
        bias = torch.zeros(3 * H, dtype=dtype)
        bias[2 * H :] = torch.tensor(net.parameters["b_hn_l0"])
        self.bias, self.from_h = bias, torch.empty(B, 3 * H, dtype=dtype)
        self.gates = torch.empty(B, 2 * H, dtype=dtype)
        self.candidate = torch.empty(B, H, dtype=dtype)
        # made once: a view costs as much as a small operation
        self.r, self.z = self.gates[:, :H], self.gates[:, H:]
        self.from_h_gates, self.q = self.from_h[:, : 2 * H], self.from_h[:, 2 * H :]

    def apply(self, a, before, now):
        a_gates, a_n = a.split([2 * self.H, self.H], 1)
        torch.addmm(self.bias, before, self.W_hh, out=self.from_h)
        torch.add(a_gates, self.from_h_gates, out=self.gates).sigmoid_()
        torch.addcmul(a_n, self.r, self.q, out=self.candidate).tanh_()
        torch.lerp(self.candidate, before, self.z, out=now)


class LSTM(RNN):
    def __init__(self, net, B, dtype):
        super().__init__(net, B, dtype)
        H = net.hidden_size
        self.a = torch.empty(B, 4 * H, dtype=dtype)
        self.c, self.tanh_c = torch.zeros(2, B, H, dtype=dtype)
        self.i_f = self.a[:, : 2 * H]
        self.i, self.f, self.g, self.o = self.a.split(H, 1)

    def reset(self):
        self.c.zero_()

    def apply(self, a, before, now):
        torch.addmm(a, before, self.W_hh, out=self.a)
        self.i_f.sigmoid_()
        self.g.tanh_()
        self.o.sigmoid_()
        self.c.mul_(self.f).addcmul_(self.i, self.g)
        torch.tanh(self.c, out=self.tanh_c)
        torch.mul(self.o, self.tanh_c, out=now)

    def state(self, h):
        return h, self.c[None]


CLASSES = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
