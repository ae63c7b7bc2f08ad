def double(item):
    return {"doubled": item * 2}
