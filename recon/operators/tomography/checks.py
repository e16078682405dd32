def check_shape(v, g):
    pass


def warnings(v, g):
    return ()
